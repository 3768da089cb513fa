"""What goes on in a program, as a page on this machine: ``--serve``."""
