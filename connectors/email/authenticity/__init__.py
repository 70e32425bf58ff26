"""Where a mail is from: SPF, DKIM, DMARC."""
