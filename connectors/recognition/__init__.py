"""Text recognition: a transcript of what came as pictures, made after the registration."""
