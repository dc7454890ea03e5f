"""The stack's images: what they contain, and how they get to other machines."""
