"""Text to objects and back: run configurations, serialised components, loaders' options."""
