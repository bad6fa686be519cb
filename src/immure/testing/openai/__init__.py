"""The stand-in for OpenAI: account and tokens, the script that plays the model, the service that answers, and a command to run it."""
