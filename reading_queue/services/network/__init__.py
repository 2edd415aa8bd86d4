"""Who is in the network, who reads for whom, and who is on duty; imported, edited, shown, each change a version."""
