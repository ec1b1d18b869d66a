"""The whole book as one PDF, printed by the system's Chromium from the site's built pages."""
