"""What the nodes' agreement about states is made of: roots compared, the log run again, words confirmed."""
