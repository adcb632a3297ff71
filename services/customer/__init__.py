"""Who the bank's customers are; the boundary to the core banking system."""
