"""The console: its pages, its sessions, and the WebSocket endpoint."""
