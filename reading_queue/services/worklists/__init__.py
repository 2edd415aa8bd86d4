"""Reading tasks for other vendors' systems: UPS-RS and FHIR; and what open desks are told."""
