"""Other nodes before and after ours."""
