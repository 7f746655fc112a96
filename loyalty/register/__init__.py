"""The register of processing (Art. 30 GDPR), worked out from what is configured."""
