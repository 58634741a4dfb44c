"""What happens to tokens: the loop, its state, and the components that decide."""
