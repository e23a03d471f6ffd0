"""Who reads which path: embeddings, gates, the learned router and the rules it has to beat."""
