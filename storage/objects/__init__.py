"""Object stores behind one protocol: the directory store and S3."""
