"""What an instance of the embedded cloud has on its PATH: small shell programs; what they ask for is done by the instance."""
