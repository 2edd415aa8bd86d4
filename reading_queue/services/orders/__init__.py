"""Orders (申请单): made, kept, matched to studies."""
