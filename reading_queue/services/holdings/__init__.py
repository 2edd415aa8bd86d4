"""What is kept: listed, handed out, read again, repaired, rebuilt from object storage, and let go."""
