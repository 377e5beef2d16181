"""The query list, the form in which texts and queries meet, matching, the arithmetic of caps."""
