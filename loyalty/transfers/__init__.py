"""Points that one member gives to another, with the consent of both."""
