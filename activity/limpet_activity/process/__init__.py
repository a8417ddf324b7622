"""How the service is started, wired and stopped."""
