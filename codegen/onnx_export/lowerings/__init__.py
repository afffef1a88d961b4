"""What each operation of the captured graph becomes, by family; one function per operation."""
