"""What a policy would have done with recorded candidates."""
