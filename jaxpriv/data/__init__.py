"""Sources of face records, transforms and Grain pipelines."""
