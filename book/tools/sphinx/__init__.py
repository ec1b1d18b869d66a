"""Extensions that _config.yml loads."""
