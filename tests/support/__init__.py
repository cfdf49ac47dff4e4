"""What tests share: made-up data and stores, servers, faults, kills, and the command line."""
