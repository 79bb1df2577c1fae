"""An index of all clips below ROOT, in SQLite: so that a page over 650,000 clips takes milliseconds.

Never a second truth. It is read from manifests and shards, holds nothing of theirs but what is searched and counted,
and can be deleted at any time; only the samples for the pictures of outcomes over time are its own.

    label      names of classes; 0 is none
    kind       what clips are counted by: run, split, outcome and cause
    message    what sources said of clips that are not done, numbers and names replaced
    entry      a clip in a run, and where the rest of it is: a byte of the manifest, or a row of a shard
    earlier    further lines of the manifest for the same clip
    tally      clips by kind and label: all counts of all pages
    name       of clips, for finding parts of them

A page is put together from the first rows of each kind that it asks for. An index is sorted by key within a kind, so
that no page reads more rows than it shows, times the kinds, however many clips there are.
"""
