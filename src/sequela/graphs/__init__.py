"""What is handed out: graphs of one case, of event types, of a population; tables, files, exports."""
