"""What is shared of a run, a checkpoint or a data set, and the card that says where its numbers come from."""
