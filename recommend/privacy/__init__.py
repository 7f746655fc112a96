"""What is shared between people and how it is guarded: noise, its accounting, and the audit."""
