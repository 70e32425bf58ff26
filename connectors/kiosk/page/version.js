// The daemon puts the hash of all files of the page here when it serves them.
export const VERSION = "__VERSION__";
