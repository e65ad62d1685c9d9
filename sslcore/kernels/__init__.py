"""The word2vec updates: `reference` is what they mean, `cpu` is how they are done fast."""
