"""Tables of experiments: strategies with their costs, differences, ladders; text, Markdown, CSV."""
