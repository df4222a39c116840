"""`daemun run --dev PLUGIN`: a plugin's code is reloaded when it is saved, by generation.

sources     which files and modules a plugin's code is, and what they hold
fresh       its modules imported anew, from source, and put back if they cannot be used
swap        another registry into use: what other code made is opened anew, all else stays
fault       where in the author's code it failed
developer   all of it, for a gateway that serves; notice: what a terminal shows

New exchanges run on the new code, those that run finish on the old one, and what the old one opened is closed with the
last of them. What fails leaves everything as it was. Nothing here is imported, or runs, without `--dev`.
"""
