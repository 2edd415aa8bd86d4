"""The commands of `counterpart-gateway`, by what they are about. Each loads only what it needs, when it runs."""
