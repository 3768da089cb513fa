"""What an endpoint can do, found out by asking it: :func:`atari_vlm.evaluation.checkup.checkup.checkup`."""
