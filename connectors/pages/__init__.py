"""Pages of PDF, TIFF and pictures: counted, drawn, joined and made ready for recognition in processes of their own.

The daemon imports `connectors.pages.renderer` and `connectors.pages.records` alone. All else here runs in the reading
process, which is why nothing is imported at this place.
"""
