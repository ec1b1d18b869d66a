"""What runs the chapters and builds the site and the notebooks."""
