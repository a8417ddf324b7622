"""One module an API: where its requests keep the model, the messages and the hints about the conversation."""
