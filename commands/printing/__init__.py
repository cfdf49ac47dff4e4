"""What commands print: text, tables that fit the terminal, and progress."""
