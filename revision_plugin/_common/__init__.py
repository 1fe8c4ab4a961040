"""What knows no embedding: files, folders, processes, threads, progress."""
