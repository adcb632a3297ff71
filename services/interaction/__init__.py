"""What passes between a customer and the bank: conversations, complaints, surveys, and how alerts ended."""
