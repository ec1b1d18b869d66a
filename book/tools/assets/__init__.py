"""Scripts and pages that the site brings along, fetched by npm or made from the weights."""
