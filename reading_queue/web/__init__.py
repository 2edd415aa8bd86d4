"""The hub's web: desks, JSON API, gateway API, DICOMweb, viewer."""
