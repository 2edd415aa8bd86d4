"""What tests share: waiting, real processes, real servers."""
