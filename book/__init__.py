"""The book: chapters, the studies behind its tables, and the tools that build it."""
