"""From a folder back to something that encodes or predicts."""
