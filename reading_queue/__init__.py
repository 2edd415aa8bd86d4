"""The hub: cases, routing, reports, desks and the gateway API.

Layers, top to bottom: cli → bootstrap → web | worker → services → db | documents → domain. It imports `storage`,
never `gateway`.
"""
