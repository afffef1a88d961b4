"""Commands of the compiler."""
