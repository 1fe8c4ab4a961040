"""What comes in: texts, images, and features made elsewhere."""
