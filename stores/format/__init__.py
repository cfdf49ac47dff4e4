"""What the objects of a store hold, and how each is read: documents, seals, names, pins, records of origin."""
